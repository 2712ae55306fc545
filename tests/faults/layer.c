/* A Vulkan layer whose calls fail on purpose, for tests/faults/main.rs: what a driver does when its device is lost, its memory
 * runs out, or it refuses a shader.
 *
 *   GLASSNET_FAULT        which calls: submit, wait, alloc, buffer, pipeline, shader, map, instance, device; or
 *                         dispatch, whose calls report no failure and do nothing
 *   GLASSNET_FAULT_AFTER  how many of them succeed first; all later ones fail
 *
 * A call that fails prints "[fault: NAME]" once. */
#define VK_NO_PROTOTYPES
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

/* One instance and one device at a time is all that the program under test makes use of. */
static PFN_vkGetInstanceProcAddr next_instance_proc;
static PFN_vkGetDeviceProcAddr next_device_proc;
static VkInstance instance;

/* Counts the calls of the kind under test, from any thread. */
static long calls;

static int fails(const char *kind) {
    const char *wanted = getenv("GLASSNET_FAULT"), *after = getenv("GLASSNET_FAULT_AFTER");
    if (!wanted || strcmp(wanted, kind) != 0) return 0;
    long succeed = after ? atol(after) : 0, call = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (call == succeed + 1) fprintf(stderr, "[fault: %s]\n", kind);
    return call > succeed;
}

#define NEXT(name) ((PFN_##name)next_device_proc(device_made, #name))
static VkDevice device_made;
static PFN_vkQueueSubmit next_submit;

static VKAPI_ATTR VkResult VKAPI_CALL queue_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    return fails("submit") ? VK_ERROR_DEVICE_LOST : next_submit(queue, count, infos, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_for_fences(VkDevice device, uint32_t count, const VkFence *fences, VkBool32 all,
                                                      uint64_t timeout) {
    return fails("wait") ? VK_ERROR_DEVICE_LOST : NEXT(vkWaitForFences)(device, count, fences, all, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_semaphores(VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
    if (fails("wait")) return VK_ERROR_DEVICE_LOST;
    PFN_vkWaitSemaphores next = NEXT(vkWaitSemaphores);
    return (next ? next : NEXT(vkWaitSemaphoresKHR))(device, info, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice device, const VkMemoryAllocateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkDeviceMemory *memory) {
    return fails("alloc") ? VK_ERROR_OUT_OF_DEVICE_MEMORY : NEXT(vkAllocateMemory)(device, info, allocator, memory);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_buffer(VkDevice device, const VkBufferCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkBuffer *buffer) {
    return fails("buffer") ? VK_ERROR_OUT_OF_HOST_MEMORY : NEXT(vkCreateBuffer)(device, info, allocator, buffer);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator, VkPipeline *pipelines) {
    if (!fails("pipeline")) return NEXT(vkCreateComputePipelines)(device, cache, count, infos, allocator, pipelines);
    memset(pipelines, 0, count * sizeof *pipelines);
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_shader(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkShaderModule *shader) {
    return fails("shader") ? VK_ERROR_OUT_OF_HOST_MEMORY : NEXT(vkCreateShaderModule)(device, info, allocator, shader);
}

static VKAPI_ATTR void VKAPI_CALL cmd_dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    if (!fails("dispatch")) NEXT(vkCmdDispatch)(commands, x, y, z);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset,
                                                 VkDeviceSize size, VkMemoryMapFlags flags, void **data) {
    return fails("map") ? VK_ERROR_MEMORY_MAP_FAILED : NEXT(vkMapMemory)(device, memory, offset, size, flags, data);
}

/* The link to the next layer, which the loader hangs into the chain of what is created. */
static void *link_in(const void *chain, VkStructureType type) {
    const VkLayerInstanceCreateInfo *info = chain; /* Both kinds begin alike. */
    while (info && !(info->sType == type && info->function == VK_LAYER_LINK_INFO)) info = info->pNext;
    return (void *)info;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkInstance *made) {
    VkLayerInstanceCreateInfo *link = link_in(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    next_instance_proc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    if (fails("instance")) return VK_ERROR_INITIALIZATION_FAILED;
    VkResult result = ((PFN_vkCreateInstance)next_instance_proc(NULL, "vkCreateInstance"))(info, allocator, made);
    if (result == VK_SUCCESS) instance = *made;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice adapter, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDevice *made) {
    VkLayerDeviceCreateInfo *link = link_in(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    next_device_proc = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    if (fails("device")) return VK_ERROR_INITIALIZATION_FAILED;
    VkResult result = ((PFN_vkCreateDevice)next(instance, "vkCreateDevice"))(adapter, info, allocator, made);
    if (result != VK_SUCCESS) return result;
    device_made = *made;
    next_submit = NEXT(vkQueueSubmit);
    return VK_SUCCESS;
}

static PFN_vkVoidFunction device_proc(VkDevice device, const char *name);
static PFN_vkVoidFunction instance_proc(VkInstance from, const char *name);

static const struct {
    const char *name;
    PFN_vkVoidFunction function;
    int of_device;
} OURS[] = {
    {"vkCreateInstance", (PFN_vkVoidFunction)create_instance, 0},
    {"vkCreateDevice", (PFN_vkVoidFunction)create_device, 0},
    {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)instance_proc, 0},
    {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)device_proc, 1},
    {"vkQueueSubmit", (PFN_vkVoidFunction)queue_submit, 1},
    {"vkWaitForFences", (PFN_vkVoidFunction)wait_for_fences, 1},
    {"vkWaitSemaphores", (PFN_vkVoidFunction)wait_semaphores, 1},
    {"vkWaitSemaphoresKHR", (PFN_vkVoidFunction)wait_semaphores, 1},
    {"vkAllocateMemory", (PFN_vkVoidFunction)allocate_memory, 1},
    {"vkCreateBuffer", (PFN_vkVoidFunction)create_buffer, 1},
    {"vkCreateComputePipelines", (PFN_vkVoidFunction)create_pipelines, 1},
    {"vkCreateShaderModule", (PFN_vkVoidFunction)create_shader, 1},
    {"vkMapMemory", (PFN_vkVoidFunction)map_memory, 1},
    {"vkCmdDispatch", (PFN_vkVoidFunction)cmd_dispatch, 1},
};

static PFN_vkVoidFunction ours(const char *name, int device_only) {
    for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++)
        if (strcmp(name, OURS[i].name) == 0 && OURS[i].of_device >= device_only) return OURS[i].function;
    return NULL;
}

static PFN_vkVoidFunction device_proc(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = ours(name, 1);
    return function ? function : next_device_proc(device, name);
}

static PFN_vkVoidFunction instance_proc(VkInstance from, const char *name) {
    PFN_vkVoidFunction function = ours(name, 0);
    return function ? function : next_instance_proc(from, name);
}

VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
    version->loaderLayerInterfaceVersion = 2;
    version->pfnGetInstanceProcAddr = instance_proc;
    version->pfnGetDeviceProcAddr = device_proc;
    version->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
