"""How good it is: metrics with intervals and the report."""
