"""Photos to tensors; the only floor that knows Pillow."""
