"""Models on delegates: the rows of bench.json, each timed, checked, and asked a whole dataset."""
