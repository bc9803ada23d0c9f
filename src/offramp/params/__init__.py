"""params.yaml, validated once, at the edge: one schema per section, `project` for the whole file.

Stages compose the sections they declare in dvc.yaml; importing this package alone imports no section, so that a new
calibration parameter never makes training look changed to DVC.
"""
