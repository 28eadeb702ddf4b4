"""The machine that is measured on: what it is, its mood, its energy."""
