"""How fast and how large a bundle is on this machine."""
