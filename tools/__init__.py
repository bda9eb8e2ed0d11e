"""Programs that make parts of the project. Users never run them, and the wheel does not have them."""
