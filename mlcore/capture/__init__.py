"""Every scored row, kept: spooled by the service, collected into the lake, joined with labels, cut into windows."""
