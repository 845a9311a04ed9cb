"""What ``import ehrbench`` offers."""
