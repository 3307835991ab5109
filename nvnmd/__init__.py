"""From data to hardware: Deep Potential models for non von Neumann molecular dynamics."""
