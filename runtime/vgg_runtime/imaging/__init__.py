"""From encoded images to the arrays that a network takes."""
