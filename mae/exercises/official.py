"""Chapter 6: the official weights."""
