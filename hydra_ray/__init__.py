"""Distil an ensemble into one network that keeps its predictions and its disagreement."""
