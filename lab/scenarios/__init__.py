"""What can be watched by itself: the tour of the demo, and the failure scenarios."""
