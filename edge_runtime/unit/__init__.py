"""The unit in the field: `osteoedge serve`, its settings, and its processes."""
