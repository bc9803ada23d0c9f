"""The measured numbers in README.md, written from the files of the stages: `python -m offramp.report README.md`.

One module per subject; each function returns a block of Markdown.
"""
