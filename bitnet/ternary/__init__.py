"""The arithmetic of ternary layers."""
