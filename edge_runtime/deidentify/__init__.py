"""Films of nobody: for a hospital's importer on the workstation, and for what leaves a unit.

:mod:`.film` writes a film anew by the rules of :mod:`.profile` (DICOM PS3.15 Annex E),
:mod:`.secret` gives what stands for patients, UIDs and days, :mod:`.anatomy` says in a dataset's
words what the header tells of the view, and :mod:`.dataset_film` puts them together.
"""
