"""`osteoedge calibrate`: a bundle's thresholds and probabilities, fitted to one site's films."""
