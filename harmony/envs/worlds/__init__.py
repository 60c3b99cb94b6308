"""World files of the bridge: each is run by an old interpreter, and nothing here imports them."""
