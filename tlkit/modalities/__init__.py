"""What goes into a module: images, texts, sounds, as the module takes them."""
