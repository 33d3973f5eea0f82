"""HubLayer: a pretrained module as a Keras layer."""
