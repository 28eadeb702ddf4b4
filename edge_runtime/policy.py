"""What whoever deploys a screener decides. Imports nothing: settings are read without a model."""

from __future__ import annotations

from typing import Literal

# Triage tells decision and reasons alone: no probability, no box.
IntendedUse = Literal["triage", "localise"]
# Whether another delegate may take over where the one asked for is missing or fails.
Fallback = Literal["allow", "forbid"]
# In which what is said to people can be told: the catalogues of edge_runtime.phrases.
Language = Literal["en", "fr", "es", "sw", "hi", "ar"]
