"""Chapter 8: from laptop to cluster."""
