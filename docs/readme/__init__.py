"""The measured numbers in README.md, written from the files of the stages: `python -m docs.readme README.md`.

One module per subject; each function returns a block of Markdown.
"""
