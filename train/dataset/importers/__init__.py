"""Other people's films -> a dataset folder. Nothing downstream knows where a dataset came from.

One module a source (:mod:`.dicom`, :mod:`.btxrd`, :mod:`.coco`, :mod:`.fracatlas`); what they share
is :mod:`.writer` (the folder, and going on after a kill) and :mod:`.label_map` (words -> labels).
"""
