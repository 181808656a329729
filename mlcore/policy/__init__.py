"""The sections of usecase.yaml, one file each; a policy is data, the code that obeys it is in its room."""
