"""What people look at: pages, pictures, Markdown."""
