"""The networks: backbones, heads, ImageNet weights."""
