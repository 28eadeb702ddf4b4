"""Other people's films -> a dataset folder. Nothing downstream knows where a dataset came from.

One module a source (:mod:`.dicom`, :mod:`.btxrd`, :mod:`.coco`, :mod:`.fracatlas`); what they share
with a unit's own export is :mod:`edge_runtime.dataset_folder` (the folder, and going on after a
kill), :mod:`edge_runtime.label_map` (words -> labels) and :mod:`edge_runtime.deidentify`.
"""
