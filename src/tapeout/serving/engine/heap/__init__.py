"""Compiled heap of arrivals that ends have caused."""
