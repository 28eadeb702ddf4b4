"""How large an installed device is, what is in it, and under which licences.

``python -m benchmarks.environment`` installs the device in a clean virtual environment, as a unit
does, and looks at what came. ``--venv DIR`` looks at one that is there: on a board, at the unit's.
"""
