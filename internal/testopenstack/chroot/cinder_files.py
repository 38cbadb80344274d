"""A driver of Cinder whose volumes are files."""
import os
import shutil

from cinder.image import image_utils
from cinder.volume import driver

FOLDER = '/srv/os/volumes'


class Driver(driver.VolumeDriver):
    VERSION = '1'

    def path(self, thing):
        return os.path.join(FOLDER, thing['id'])

    def check_for_setup_error(self):
        os.makedirs(FOLDER, exist_ok=True)

    def _update_volume_stats(self):
        self._stats = {'volume_backend_name': 'files', 'vendor_name': 'test', 'driver_version': '1',
                       'storage_protocol': 'file', 'total_capacity_gb': 1000, 'free_capacity_gb': 1000,
                       'reserved_percentage': 0, 'QoS_support': False, 'multiattach': False}

    def create_volume(self, volume):
        with open(self.path(volume), 'wb') as f:
            f.truncate(volume['size'] << 30)

    def delete_volume(self, volume):
        if os.path.exists(self.path(volume)):
            os.unlink(self.path(volume))

    def create_snapshot(self, snapshot):
        source = os.path.join(FOLDER, snapshot['volume_id'])
        os.system("cp --sparse=always '%s' '%s'" % (source, self.path(snapshot)))

    delete_snapshot = delete_volume

    def create_volume_from_snapshot(self, volume, snapshot):
        os.system("cp --sparse=always '%s' '%s'" % (self.path(snapshot), self.path(volume)))

    def create_cloned_volume(self, volume, source):
        os.system("cp --sparse=always '%s' '%s'" % (self.path(source), self.path(volume)))

    def extend_volume(self, volume, size):
        os.truncate(self.path(volume), size << 30)

    def copy_image_to_volume(self, context, volume, image_service, image_id, disable_sparse=False):
        image_utils.fetch_to_raw(context, image_service, image_id, self.path(volume),
                                 self.configuration.volume_dd_blocksize, size=volume['size'])
        os.truncate(self.path(volume), volume['size'] << 30)

    def copy_volume_to_image(self, context, volume, image_service, image_meta):
        image_utils.upload_volume(context, image_service, image_meta, self.path(volume), volume)

    def ensure_export(self, context, volume):
        pass

    create_export = remove_export = lambda self, *args, **kwargs: None

    def initialize_connection(self, volume, connector, **kwargs):
        return {'driver_volume_type': 'local', 'data': {'device_path': self.path(volume)}}

    def terminate_connection(self, volume, connector, **kwargs):
        pass
