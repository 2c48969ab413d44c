"""AWS's wire protocols: what unchanged boto3, SDKs and the aws command speak."""
