"""What leaves the device: JSON and pictures."""
