// Volumes makes a folder for every claim of its storage class, on the disk of the node that the scheduler chose.
//
// The nodes' disks are folders of this machine, so no pod is needed to make or remove anything on them.
// A folder belongs to root with mode 0755, as a new file system of a cloud's disk does: a pod that does not run as
// root must ask for its group (fsGroup), here as there. Sizes are recorded, not enforced.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	provisionerName = "xmpp.test/volumes"
	pathOnNode      = "/var/lib/volumes"
)

// disks makes and removes folders below root, where NODE/lib is what the node has at /var/lib.
type disks struct{ root string }

func (d disks) folder(node, volume string) string {
	return filepath.Join(d.root, node, "lib/volumes", volume)
}

func (d disks) Provision(
	_ context.Context, options controller.ProvisionOptions,
) (*core.PersistentVolume, controller.ProvisioningState, error) {
	node := options.SelectedNodeName
	if node == "" {
		return nil, controller.ProvisioningFinished, fmt.Errorf("no node was selected: volumeBindingMode must be WaitForFirstConsumer")
	}
	// Not MkdirAll: a node without its disk must not be given one.
	if err := os.Mkdir(d.folder(node, options.PVName), 0o755); err != nil && !os.IsExist(err) {
		return nil, controller.ProvisioningFinished, err
	}
	filesystem := core.PersistentVolumeFilesystem
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: options.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: options.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			VolumeMode:                    &filesystem,
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: filepath.Join(pathOnNode, options.PVName)},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: on(node)},
		},
	}, controller.ProvisioningFinished, nil
}

func (d disks) Delete(_ context.Context, volume *core.PersistentVolume) error {
	node, err := nodeOf(volume)
	if err != nil {
		return err
	}
	return os.RemoveAll(d.folder(node, volume.Name))
}

func on(node string) *core.NodeSelector {
	return &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
		MatchExpressions: []core.NodeSelectorRequirement{{
			Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node},
		}},
	}}}
}

func nodeOf(volume *core.PersistentVolume) (string, error) {
	if affinity := volume.Spec.NodeAffinity; affinity != nil && affinity.Required != nil {
		for _, term := range affinity.Required.NodeSelectorTerms {
			for _, expression := range term.MatchExpressions {
				if expression.Key == core.LabelHostname && len(expression.Values) == 1 {
					return expression.Values[0], nil
				}
			}
		}
	}
	return "", fmt.Errorf("volume %s does not say on which node it is", volume.Name)
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "credentials for the API server")
	root := flag.String("root", "", "folder with the disks of the nodes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatalf("kubeconfig %q: %v", *kubeconfig, err)
	}
	// The library's first retry comes after 15 s: far too late for the usual conflict with who labels a claim meanwhile.
	retry := workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 5*time.Second)
	controller.NewProvisionController(
		ctx, kubernetes.NewForConfigOrDie(config), provisionerName, disks{*root},
		controller.LeaderElection(false), controller.RateLimiter(retry),
	).Run(ctx)
}
