"""Reading runs back. Training never imports it."""
