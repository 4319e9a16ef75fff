"""From measurements to statistics, rankings and a recommendation."""
