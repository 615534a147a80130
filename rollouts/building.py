"""What the machine does with builds of images: one step of the builder at a time, its log as rows.

Called by Celery tasks and by the doors. An image that is there becomes a version of its service.
"""
