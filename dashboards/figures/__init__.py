"""Figures of plotly's, drawn from a search's results or from a fit."""
