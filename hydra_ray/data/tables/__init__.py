"""Parquet and CSV files: which columns are inputs and labels, and how their values become arrays.

Splits of rows are not made here.
"""
