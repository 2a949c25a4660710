"""What several families of layers need; nothing here is a layer itself."""
