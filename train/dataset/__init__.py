"""Radiographs on disk: layout, phantoms, splits and the input pipeline."""
