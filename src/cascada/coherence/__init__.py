"""How processes hear of each other's invalidations."""
