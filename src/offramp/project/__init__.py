"""A checkout: sections of params.yaml, files, errors, this machine, files from outside. Knows no image and no exit.

A stage composes the sections that it declares in dvc.yaml; each section is validated once, at the edge, by its schema.
"""
