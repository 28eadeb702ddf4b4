"""Whether the films that come still look like those that the bundle was calibrated on.

What is measured of films (:mod:`~edge_runtime.drift.reference`), how a block of them is compared
with a reference (:mod:`~edge_runtime.drift.statistics`), how a unit keeps
watch over its blocks (:mod:`~edge_runtime.drift.watch`), and what it tells of them
(:mod:`~edge_runtime.drift.status`). ``docs/drift.md`` has the method and its stated error.
"""
