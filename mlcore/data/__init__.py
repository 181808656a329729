"""Dataset versions: read, conformed to the contract, cleaned, stored once, identified by their content."""
