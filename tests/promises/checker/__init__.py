"""The judge: reads evidence, imports nothing of the product, and can be run again on old evidence.

`python -m tests.promises.checker FOLDER` judges the evidence in a folder.
"""
