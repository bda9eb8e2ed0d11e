"""What the project is made with, and what its users never run."""
