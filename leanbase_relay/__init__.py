"""leanbase-relay: keeps product-analytics events safe until Leanbase has them."""

__version__ = "0.1.0"
