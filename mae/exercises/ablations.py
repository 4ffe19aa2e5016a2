"""Chapter 7: ablations."""
