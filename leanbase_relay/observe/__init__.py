"""What others see of the relay: rates, metrics, and a page that shows them."""
