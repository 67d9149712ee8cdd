from three_people import dataset as dataset
from three_people import model as model
